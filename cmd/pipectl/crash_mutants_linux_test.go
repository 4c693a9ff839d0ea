package main

import (
	"testing"

	"github.com/pipectl/pipectl/engine/pipetest/mutant"
)

// TestMutants breaks what survives crashes: the tests that kill processes, cut the
// power and fail the disk must notice. Most need strace.
func TestMutants(t *testing.T) { mutant.Test(t, crashMutants) }

var crashMutants = []mutant.Mutant{
	// The checkpoint.
	{Name: "a checkpoint is not forced to the disk", File: "../../sources/file_save.go", Tests: "TestPowerCut",
		Old: "err = f.Sync()", New: ""},
	{Name: "the name of a checkpoint is not forced to the disk", File: "../../sources/file_save.go", Tests: "TestDiskFaults",
		Old: "return dir.Sync()", New: "return nil"},
	{Name: "a checkpoint is written in its place", File: "../../sources/file_save.go", Tests: "TestKilledAtEvery",
		Old: "tmp := path + \".tmp\"", New: "tmp := path"},
	{Name: "a checkpoint has its name before it is written", File: "../../sources/file_save.go", Tests: "TestPowerCut|TestKilledAtEvery",
		Old: "\t_, err = f.Write(content)\n", New: "\tif err = os.Rename(tmp, path); err == nil {\n\t\t_, err = f.Write(content)\n\t}\n\ttmp = path\n"},
	{Name: "positions run ahead of what is settled", File: "../../sources/file_save.go", Tests: "TestKilledAtRandom|TestKilledAtEvery|TestDiskFaults",
		Old: "k.print.bytes, k.offset}", New: "k.print.bytes, max(k.offset, k.at)}"},
	{Name: "positions are never saved", File: "../../sources/file_save.go", Tests: "TestKilledAtRandom",
		Old: "\tif b.path == \"\" {\n\t\treturn nil\n\t}\n\tif err := writeFileAtomic", New: "\tif true {\n\t\treturn nil\n\t}\n\tif err := writeFileAtomic"},
	{Name: "every start is the first", File: "../../sources/file_save.go", Tests: "TestKilledAtRandom",
		Old: "return true, nil", New: "b.files = map[string]*known{}\n\tb.byInode = map[uint64][]*known{}\n\treturn true, nil"},
	// The output.
	{Name: "a batch is confirmed before it is on the disk", File: "../../sinks/file_out.go", Tests: "TestPowerCut",
		Old: "if f.err == nil && s.Fsync.batch {", New: "if false {"},
	{Name: "a batch is confirmed before it is written", File: "../../sinks/file_out.go", Tests: "TestKilledAtRandom",
		Old: "\tf.done = true\n\tf.flush(s)\n", New: "\tf.done = true\n\tif len(f.buf) > 20_000 {\n\t\tf.flush(s)\n\t}\n"},
	{Name: "the name of a new file is not forced to the disk", File: "../../sinks/file_out.go", Tests: "TestPowerCut",
		Old: "if made && s.forced() {", New: "if false {"},
	{Name: "the name of a new folder is not forced to the disk", File: "../../sinks/file_out.go", Tests: "TestPowerCut",
		Old: "\tif !force {\n\t\treturn nil\n\t}\n\treturn syncDir(dir)", New: "\treturn nil"},
	{Name: "what a crash left of a line becomes a part of the next", File: "../../sinks/file_repair.go", Tests: "TestKilledAtEvery",
		Old: "if err != nil || end == size {", New: "if err != nil || end <= size {"},
	{Name: "an unfinished line is cut off before it is kept", File: "../../sinks/file_repair.go", Tests: "TestKilledAtEvery",
		Old: "\ttorn := file.Name() + \".torn\"\n", New: "\ttorn := file.Name() + \".torn\"\n\ttext, _ := io.ReadAll(part)\n\tfile.Truncate(end)\n\tpart = io.NewSectionReader(bytes.NewReader(text), 0, int64(len(text)))\n"},
	{Name: "half a batch stays on a full disk", File: "../../sinks/file_out.go", Tests: "TestDiskRunsFull",
		Old: "if err := f.dst.Truncate(f.before); err != nil {\n\t\treturn cause(err)\n\t}", New: ""},
	{Name: "a failed write is confirmed", File: "../../sinks/file_out.go", Tests: "TestDiskFaults|TestDiskRunsFull",
		Old: "\tf.err = writeError(f.path, err)\n", New: ""},
	// Signals.
	{Name: "a signal at the very end kills the process", File: "signals.go", Tests: "TestSignalledAsItEnds",
		Old: "return func() { ended.Store(true) }", New: "return func() { ended.Store(true); signal.Stop(signals) }"},
	{Name: "the second signal does nothing", File: "signals.go", Tests: "TestSignalledAtRandom",
		Old: "\tcase 2:\n\t\te.Stop()", New: "\tcase 2:"},
	{Name: "the third signal does nothing", File: "signals.go", Tests: "TestThirdSignalEndsTheProcess",
		Old: "\t\tforce(errs)\n\t}\n}", New: "\t}\n}"},
	{Name: "the shutdown timeout does nothing", File: "../../engine/engine.go", Tests: "TestSignalledAtRandom",
		Old: "e.deadline = time.AfterFunc(timeout, e.expire)", New: ""},
	{Name: "the exit code is always 0", File: "run.go", Tests: "TestSignalledAtRandom",
		Old: "case receipt.ExitCode != 0:", New: "case false:"},
}
