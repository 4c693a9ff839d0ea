package check

import (
	"fmt"
	"net"
	"path/filepath"

	"github.com/pipectl/pipectl/engine/config"
)

// checkSameFile finds file sinks that would write into one file at once: each
// rotates, truncates and repairs it as if it were alone.
func (r *Report) checkSameFile(p *config.Pipeline) {
	first := map[string]*config.Node{}
	for _, n := range p.Sinks {
		path, ok := n.Option("path")
		name, isText := path.(string)
		if n.Type != "file" || !ok || !isText {
			continue
		}
		name = filepath.Clean(name)
		if other := first[name]; other != nil {
			r.find(n.At("path"), config.Error, "same-file",
				fmt.Sprintf("sinks %s and %s both write %s", other.Name, n.Name, name),
				fmt.Sprintf("let the edges of both lead to sink %s, or give each a file of its own", other.Name))
			continue
		}
		first[name] = n
	}
}

// checkSameCheckpoint finds sources that would save their positions into one file:
// each would overwrite those of the other.
func (r *Report) checkSameCheckpoint(p *config.Pipeline) {
	first := map[string]*config.Node{}
	for _, n := range p.Sources {
		if other, name := sharing(first, n, "checkpoint"); other != nil {
			r.find(n.At("checkpoint"), config.Error, "same-checkpoint",
				fmt.Sprintf("sources %s and %s both save their positions in %s", other.Name, n.Name, name),
				"give each a checkpoint of its own, or read the paths of both with one source")
		}
	}
}

// checkSameFolder finds sources that would take the files of one folder away from
// each other.
func (r *Report) checkSameFolder(p *config.Pipeline) {
	first := map[string]*config.Node{}
	for _, n := range p.Sources {
		if n.Type != "directory" {
			continue
		}
		if other, name := sharing(first, n, "path"); other != nil {
			r.find(n.At("path"), config.Error, "same-folder",
				fmt.Sprintf("sources %s and %s both take the files of %s", other.Name, n.Name, name), "give each a folder of its own")
		}
	}
}

// sharing returns the earlier node with the same path in an option, and the path.
func sharing(first map[string]*config.Node, n *config.Node, key string) (other *config.Node, name string) {
	name = text(n, key)
	if name == "" {
		return nil, ""
	}
	name = filepath.Clean(name)
	if other = first[name]; other == nil {
		first[name] = n
	}
	return other, name
}

// checkSameAddress finds nodes that would listen at one address: the second
// cannot be opened.
func (r *Report) checkSameAddress(p *config.Pipeline) {
	var taken []listener
	for _, n := range p.Nodes() {
		l, ok := listenerOf(n)
		if !ok {
			continue
		}
		for _, other := range taken {
			if other.meets(l) {
				r.find(n.At(l.key), config.Error, "same-address",
					fmt.Sprintf("%s %s and %s %s both listen at %s", other.node.Kind, other.node.Name, n.Kind, n.Name, l.address),
					"give each an address of its own, or let one serve both")
				break
			}
		}
		taken = append(taken, l)
	}
}

// listener is where a node would listen.
type listener struct {
	node       *config.Node
	key        string // of the address
	network    string // tcp, udp or unix
	address    string
	host, port string
}

// listenerOf tells where a node listens, by the keys that such nodes have. A free
// port that the kernel chooses is never the same as another.
func listenerOf(n *config.Node) (l listener, ok bool) {
	l = listener{node: n, key: "listen", network: "tcp", address: text(n, "listen")}
	switch {
	case n.Type == "unix" && n.Kind == "source":
		l.key, l.network, l.address = "path", "unix", filepath.Clean(text(n, "path"))
		return l, l.address != "."
	case n.Type == "udp" || text(n, "protocol") == "udp":
		l.network = "udp"
	case text(n, "protocol") == "unix", text(n, "protocol") == "unix_datagram":
		l.network, l.address = "unix", filepath.Clean(l.address)
		return l, l.address != "."
	}
	var err error
	l.host, l.port, err = net.SplitHostPort(l.address)
	return l, err == nil && l.port != "0" && l.port != ""
}

func (l listener) meets(other listener) bool {
	switch {
	case l.network != other.network:
		return false
	case l.network == "unix":
		return l.address == other.address
	}
	return l.port == other.port && (l.host == other.host || everywhere(l.host) || everywhere(other.host))
}

func everywhere(host string) bool { return host == "" || net.ParseIP(host).IsUnspecified() }

// text returns an option of a node that is text, or "".
func text(n *config.Node, key string) string {
	v, _ := n.Option(key)
	s, _ := v.(string)
	return s
}
