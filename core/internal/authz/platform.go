package authz

import "github.com/platformd/platformd/plugin-api/manifest"

// PlatformModule is the module that the platform's own permissions belong to. No module can have this name.
const PlatformModule = "platform"

// PlatformPermissions are those that the platform's own API asks for. No role but admin has them from the beginning.
func PlatformPermissions() []manifest.Permission {
	all := []manifest.Permission{}
	for _, p := range []struct{ name, description string }{
		{"user.read", "See who the users are"},
		{"user.create", "Create and invite users"},
		{"user.update", "Change, disable and enable users who may do no more than oneself, and set their passwords"},
		{"user.delete", "Delete users who may do no more than oneself"},
		{"role.read", "See roles, what they allow and who has them"},
		{"role.manage", "Create, change, delete and assign roles, as far as one has what they allow"},
		{"group.read", "See groups and their members"},
		{"group.manage", "Create and delete groups, and choose their members, as far as one has what their roles allow"},
		{"token.read", "See whose tokens there are, never their secrets; one's own need no permission"},
		{"token.create", "Create tokens of services and of others; one's own need no permission"},
		{"token.revoke", "Revoke tokens of services and of others; one's own need no permission"},
		{"session.read", "See who is signed in, and from where"},
		{"session.end", "Sign users out"},
		{"authz.check", "Ask what others may do, and why"},
		{"audit.read", "Read the audit log"},
		{"module.read", "See modules, their processes and routes"},
		{"module.manage", "Install, start, stop and remove modules"},
		{"migration.read", "See which migrations have been applied"},
		{"migration.run", "Apply and undo migrations"},
		{"event.read", "See which events there are, what waits, and dead letters with their data"},
		{"event.publish", "Publish events in the platform's name"},
		{"event.manage", "Have dead letters delivered again, and throw them away"},
		{"log.read", "Read the logs of the platform and its modules"},
		{"system.read", "See the state and the configuration of the platform"},
		{"system.stop", "Stop the platform"},
		{"key.rotate", "Replace the keys that sign access tokens"},
	} {
		all = append(all, manifest.Permission{Name: PlatformModule + "." + p.name, Description: p.description})
	}
	return all
}
