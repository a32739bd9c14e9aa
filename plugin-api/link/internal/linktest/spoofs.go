package linktest

import "strings"

// Spoofs returns header lines by which a client may try to speak as the core, smuggle its token, or touch the connection
// between core and module. None of them may reach the module. "SPOOF" marks the value.
func Spoofs() []string {
	var lines []string
	for _, name := range []string{
		"Platformd-Secret", "Platformd-Route", "Platformd-Params", "Platformd-Principal", "Platformd-Timeout",
	} {
		lines = append(lines,
			name+": SPOOF",
			strings.ToLower(name)+": SPOOF",
			strings.ToUpper(name)+": SPOOF",
			strings.ReplaceAll(name, "-", "_")+": SPOOF",
			strings.ReplaceAll(strings.ToUpper(name), "-", "_")+": SPOOF",
			strings.ReplaceAll(name, "-", ".")+": SPOOF",
			name+": SPOOF\r\n"+name+": SPOOF",
			name+":SPOOF",
			name+": \t SPOOF",
			name+": SPOOF\r\nConnection: "+name,
			"Connection: "+strings.ToLower(name)+", close\r\n"+name+": SPOOF",
		)
	}
	return append(lines,
		"pLaTfOrMd-Principal: SPOOF",
		"Platformd-: SPOOF",
		"Platformd: SPOOF",
		"Platformd_: SPOOF",
		"Platformd--Principal: SPOOF",
		"Platformd-_Principal: SPOOF",
		"Platformd-Anything-Else: SPOOF",
		"Platformd~Principal: SPOOF",
		"Platformd!Principal: SPOOF",
		"Platformd'Principal: SPOOF",
		"Platformd+Principal: SPOOF",
		"Authorization: Bearer SPOOF",
		"authorization: SPOOF\r\nAuthorization: SPOOF",
		"Proxy-Authorization: SPOOF",
		"Proxy-Authenticate: SPOOF",
		"Proxy-Connection: SPOOF",
		"Keep-Alive: SPOOF",
		"Te: SPOOF, trailers",
		"Trailer: X-SPOOF",
		"Upgrade: SPOOF\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: SPOOF",
		"Connection: X-Hop, close\r\nX-Hop: SPOOF",
		"Connection: x_hop\r\nX_Hop: SPOOF",
		"Connection: keep-alive\r\nConnection: X-One ,,X-Two\r\nX-One: SPOOF\r\nx-two: SPOOF",
		"Transfer-Encoding: chunked\r\nPlatformd-Principal: SPOOF\r\n\r\n0\r\nPlatformd-Principal: SPOOF",
		"Transfer-Encoding: chunked\r\nTrailer: Platformd-Route\r\n\r\n0\r\nPlatformd-Route: SPOOF",
		"Transfer-Encoding: chunked\r\nTrailer: platformd_route\r\n\r\n0\r\nplatformd_route: SPOOF",
		"Transfer-Encoding: chunked\r\nTrailer: X-Ok, Authorization\r\n\r\n1\r\nx\r\n0\r\nAuthorization: SPOOF\r\nX-Ok: 1",
		"Transfer-Encoding: chunked\r\nTrailer: X-Ok\r\n\r\n1\r\nx\r\n0\r\nX-Ok: 1\r\nPlatformd-Params: SPOOF\r\nCookie: SPOOF",
	)
}
