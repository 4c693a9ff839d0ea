//go:build !unix

package subprocess

import "os/exec"

func ownGroup(*exec.Cmd)      {}
func askGroup(cmd *exec.Cmd)  { _ = cmd.Process.Kill() } // it may have ended; there is no gentler way
func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
