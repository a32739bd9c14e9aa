// Command curl stands in for the real one where a machine has none, so that the README's commands can be run there too. It
// knows the flags that the README uses: -s, -i, -H, -d.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "curl:", err)
		os.Exit(7)
	}
}

func run(args []string) error {
	method, body, header, showHead, address := http.MethodGet, "", http.Header{}, false, ""
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-s":
		case "-i":
			showHead = true
		case "-H":
			i++
			name, value, _ := strings.Cut(args[i], ":")
			header.Add(name, strings.TrimSpace(value))
		case "-d":
			i++
			method, body = http.MethodPost, args[i]
		default:
			address = args[i]
		}
	}
	req, err := http.NewRequest(method, address, strings.NewReader(body)) //nolint:noctx // it lives as long as the process
	if err != nil {
		return err
	}
	req.Header = header
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if showHead {
		fmt.Fprintf(os.Stdout, "%s %s\r\n", res.Proto, res.Status)
		_ = res.Header.Write(os.Stdout)
		fmt.Fprint(os.Stdout, "\r\n")
	}
	_, err = io.Copy(os.Stdout, res.Body)
	return err
}
