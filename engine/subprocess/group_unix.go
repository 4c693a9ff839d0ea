//go:build unix

package subprocess

import (
	"os/exec"
	"syscall"
)

// ownGroup gives a command a process group, so that what it starts can be
// stopped with it, and a Ctrl-C at the terminal is pipectl's to handle.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func askGroup(cmd *exec.Cmd)  { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // it may have ended
func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
