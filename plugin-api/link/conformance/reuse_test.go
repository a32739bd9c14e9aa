package conformance

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

func TestManyExchangesAtOnce(t *testing.T) { each(t, manyExchangesAtOnce) }

func manyExchangesAtOnce(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s", r.URL.Path, body)
	})
	var clients sync.WaitGroup
	for i := range 16 {
		clients.Go(func() {
			for j := range 20 {
				text := strings.Repeat(fmt.Sprint(i, j, " "), 1+j*1000)
				req := rig.Request(http.MethodPost, fmt.Sprintf("/%d/%d", i, j), strings.NewReader(text))
				res, err := rig.Front.Client().Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if want := fmt.Sprintf("/%d/%d %s", i, j, text); err != nil || string(body) != want {
					t.Errorf("%d/%d got another answer: %v", i, j, err)
				}
			}
		})
	}
	clients.Wait()
}
