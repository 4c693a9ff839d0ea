package sinks

import (
	"testing"

	"github.com/pipectl/pipectl/engine/pipetest/mutant"
)

// TestMutants proves the tests of this package: see package mutant. Mistakes that
// only a crash of the process or the machine shows are in cmd/pipectl.
func TestMutants(t *testing.T) { mutant.Test(t, mutants) }

var mutants = []mutant.Mutant{
	{Name: "half a batch stays in the file", File: "file_out.go", Tests: "TestFileTakesHalfABatchBack",
		Old: "if err := f.dst.Truncate(f.before); err != nil {\n\t\treturn cause(err)\n\t}", New: ""},
	{Name: "half a batch is taken back from others, too", File: "file_out.go", Tests: "TestFileThatCannotTakeBack",
		Old: "info.Size() != f.size", New: "false"},
	{Name: "a file that could not take back goes on as it is", File: "file_out.go", Tests: "TestFileThatCannotTakeBack",
		Old: "f.torn = true // it is repaired", New: "// it is repaired"},
	{Name: "fsync: batch confirms without it", File: "file_out.go", Tests: "TestFileFsync$",
		Old: "if f.err == nil && s.Fsync.batch {", New: "if false {"},
	{Name: "a failed fsync is confirmed", File: "file_out.go", Tests: "TestFileFsyncFails",
		Old: "f.fail(fmt.Errorf(\"fsync: %w\", err))", New: ""},
	{Name: "a failed fsync counts as done", File: "file_out.go", Tests: "TestFileFsyncFails",
		Old: "err := f.dst.Sync()\n\tif err == nil {", New: "err := f.dst.Sync()\n\tif true {\n\t\terr = nil"},
	{Name: "fsync by time forgets the end", File: "file.go", Tests: "TestFileFsync$",
		Old: "errs = append(errs, f.close(s.forced()))", New: "errs = append(errs, f.close(false))"},
	{Name: "an unfinished line stays", File: "file_repair.go", Tests: "TestFileMovesUnfinishedLine",
		Old: "if err != nil || end == size {", New: "if err != nil || end <= size {"},
	{Name: "an unfinished line is thrown away", File: "file_repair.go", Tests: "TestFileMovesUnfinishedLine",
		Old: "_, err = io.Copy(out, line)", New: ""},
	{Name: "an unfinished line is there twice", File: "file_repair.go", Tests: "TestFileMovesUnfinishedLine",
		Old: "\treturn file.Truncate(end)", New: "\treturn nil"},
	{Name: "the next unfinished line replaces the one before", File: "file_repair.go", Tests: "TestFileMovesEveryUnfinishedLine",
		Old: "os.O_WRONLY|os.O_APPEND|os.O_CREATE", New: "os.O_WRONLY|os.O_TRUNC|os.O_CREATE"},
	{Name: "a whole value without its line break counts as unfinished", File: "file_repair.go", Tests: "TestFileMovesUnfinishedLine",
		Old: "if s.isValue(part) {", New: "if false && s.isValue(part) {"},
	{Name: "what is left of a number counts as a value", File: "file_repair.go", Tests: "TestFileMovesUnfinishedLine",
		Old: " && !('0' <= text[len(text)-1] && text[len(text)-1] <= '9')", New: ""},
	{Name: "a line break in quotes ends a record", File: "file_repair.go", Tests: "TestFileMovesUnfinishedLine",
		Old: "case quoted:", New: "case quoted && c != '\\n':"},
	{Name: "an unfinished stream stays", File: "file_repair.go", Tests: "TestFileAfterACrash",
		Old: "return file.Truncate(whole)", New: "return nil"},
	{Name: "a stream that breaks off counts as whole", File: "file_repair.go", Tests: "TestFileAfterACrash",
		Old: "case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF:\n", New: "case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF:\n\t\t\tend = src.n\n"},
	{Name: "damage is appended to", File: "file_repair.go", Tests: "TestFileDoesNotAppendToDamage",
		Old: "return end, fmt.Errorf(\"at byte %d: %w\", end, err)", New: "return src.n, nil"},
	{Name: "a file is never looked at again", File: "file_repair.go", Tests: "TestFileReadsItsOwnOnlyOnce",
		Old: "ok && known == size", New: "ok || known == size"},
}
