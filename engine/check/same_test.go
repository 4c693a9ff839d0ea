package check

import (
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
)

// door is a source that listens, or saves its position.
type door struct {
	source
	Listen     string `yaml:"listen"`
	Protocol   string `yaml:"protocol"`
	Path       string `yaml:"path"`
	Checkpoint string `yaml:"checkpoint"`
}

// exit is a sink that listens.
type exit struct {
	sink
	Listen string `yaml:"listen"`
}

func init() {
	pipe.RegisterSource("door", func() pipe.Source { return &door{Listen: "127.0.0.1:8080"} })
	pipe.RegisterSource("unix", func() pipe.Source { return &door{} })
	pipe.RegisterSource("directory", func() pipe.Source { return &door{} })
	pipe.RegisterSink("exit", func() pipe.Sink { return &exit{} })
}

func TestSameAddressAndCheckpoint(t *testing.T) {
	f := func(first, second, third, want string) {
		t.Helper()
		got := ""
		r := analyze(t, "- door1 -> exit\n- unix2 -> exit\n- door3 -> exit\n", map[string]string{"door1": first, "unix2": ", path: two.sock", "door3": second, "exit": third})
		for _, d := range r.Findings {
			got += d.Message
		}
		if got != want {
			t.Errorf("%s and %s and %s: got %q, want %q", first, second, third, got, want)
		}
	}
	f("", "", "", "source door1 and source door3 both listen at 127.0.0.1:8080")
	f("", `, listen: ":8080"`, "", "source door1 and source door3 both listen at :8080")
	f(`, listen: "0.0.0.0:8080"`, "", "", "source door1 and source door3 both listen at 127.0.0.1:8080")
	f("", `, listen: "127.0.0.2:8080"`, "", "")
	f("", `, listen: "127.0.0.1:8081"`, "", "")
	f("", ", protocol: udp", "", "")
	f(`, listen: "127.0.0.1:0"`, `, listen: "127.0.0.1:0"`, "", "")
	f("", ", protocol: unix, listen: ./two.sock", "", "source unix2 and source door3 both listen at two.sock")
	f("", ", protocol: udp", `, listen: "127.0.0.1:8080"`, "source door1 and sink exit both listen at 127.0.0.1:8080")
	f(", checkpoint: x/c", ", protocol: udp, checkpoint: x/./c", "", "sources door1 and door3 both save their positions in x/c")
	f(", checkpoint: c", ", protocol: udp, checkpoint: d", "", "")
}

func TestSameFolder(t *testing.T) {
	r := analyze(t, "- directory1 -> exit\n- directory2 -> exit\n- directory3 -> exit\n",
		map[string]string{"directory1": ", path: in", "directory2": ", path: ./in/", "directory3": ", path: in/more"})
	want := "sources directory1 and directory2 both take the files of in"
	if len(r.Findings) != 1 || r.Findings[0].Message != want {
		t.Errorf("got %v, want %s", r.Findings, want)
	}
}
