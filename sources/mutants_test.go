package sources

import (
	"testing"

	"github.com/pipectl/pipectl/engine/pipetest/mutant"
)

// TestMutants proves the tests of this package: see package mutant. Mistakes that
// only a crash of the process or the machine shows are in cmd/pipectl.
func TestMutants(t *testing.T) { mutant.Test(t, mutants) }

var mutants = []mutant.Mutant{
	{Name: "the checksum is not looked at", File: "file_save.go", Tests: "TestCheckpoint",
		Old: "c.Checksum != \"\" && c.Checksum != c.sum()", New: "false"},
	{Name: "the checksum leaves out the positions", File: "file_save.go", Tests: "TestCheckpointWith",
		Old: "\tc.Checksum = \"\"\n\ttext, err", New: "\tc.Checksum, c.Files = \"\", nil\n\ttext, err"},
	{Name: "no checksum is written", File: "file_save.go", Tests: "TestCheckpoint",
		Old: "\tc.Checksum = c.sum()\n", New: ""},
	{Name: "a damaged checkpoint is as good as none", File: "file_save.go", Tests: "TestCheckpointDamage",
		Old: "\tif err := b.parse(text); err != nil {\n\t\treturn false, b.damaged(err)\n\t}", New: "\tif err := b.parse(text); err != nil {\n\t\treturn false, nil\n\t}"},
	{Name: "what cannot be read is as good as none", File: "file_save.go", Tests: "TestCheckpoint",
		Old: "\tif os.IsNotExist(err) {\n\t\treturn false, nil\n\t}\n\tif err != nil {", New: "\tif err != nil {\n\t\treturn false, nil\n\t}\n\tif err != nil {"},
	{Name: "what follows a checkpoint is overlooked", File: "file_save.go", Tests: "TestCheckpointDamageIsNamed",
		Old: "if _, err := d.Token(); err != io.EOF {", New: "if _, err := d.Token(); false && err != io.EOF {"},
	{Name: "a partition may be there twice", File: "file_save.go", Tests: "TestCheckpointDamageIsNamed",
		Old: "if b.files[e.Partition] != nil {", New: "if false {"},
	{Name: "a negative position is taken", File: "file_save.go", Tests: "TestCheckpointDamageIsNamed",
		Old: " || e.Offset < 0 {", New: " {"},
	{Name: "a later version is taken", File: "file_save.go", Tests: "TestCheckpointDamageIsNamed",
		Old: "case *c.Version != checkpointVersion:", New: "case *c.Version < checkpointVersion:"},
	{Name: "a save that failed is forgotten", File: "file_save.go", Tests: "TestCheckpointTriesAgain",
		Old: "b.update(func() { b.unsaved = true })", New: ""},
	{Name: "a leftover stops the save", File: "file_save.go", Tests: "TestCheckpointSurvivesLeftovers",
		Old: "os.Remove(tmp); err != nil && !os.IsNotExist(err)", New: "error(nil); err != nil"},
	{Name: "others may read the checkpoint", File: "file_save.go", Tests: "TestCheckpointResumes",
		Old: "0o600", New: "0o644"},
	{Name: "positions fall", File: "file_checkpoint.go", Tests: "TestCheckpointPositionsOnlyRise",
		Old: "k.offset = max(k.offset, m.Position)", New: "k.offset = m.Position"},
	{Name: "another file under the path goes on where the old one was", File: "file_checkpoint.go", Tests: "TestCheckpointFollowsIdentity",
		Old: "size < k.print.bytes || !k.print.matches(f)", New: "false"},
	{Name: "a rotated file that is not settled is forgotten", File: "file_checkpoint.go", Tests: "TestCheckpointKeepsUnsettledRotatedFile",
		Old: "k.ended, k.size = true, k.at\n\tif k.offset >= k.last {", New: "k.ended, k.size = true, k.at\n\tif true {"},
}
