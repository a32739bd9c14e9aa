package gateway

// FullPath is the pattern under which clients reach a route of a module: /api/v1/blog/posts/{id}.
func FullPath(module, path string) string {
	if path == "/" {
		return apiPrefix + module
	}
	return apiPrefix + module + path
}
