package handler

import (
	"net/http"

	"github.com/coder/websocket"
)

// echo sends every message of a WebSocket back until the client leaves.
func echo(w http.ResponseWriter, r *http.Request) error {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return nil // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return nil // the client left: nothing is cut that was not over
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return nil
		}
	}
}
