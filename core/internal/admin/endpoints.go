package admin

import (
	"net/http"
	"slices"
)

// AccessAuthenticated is the Access of an Endpoint that is open to whoever has valid credentials.
const AccessAuthenticated = "authenticated"

// Endpoint is one entry of the API.
type Endpoint struct {
	ID     string
	Method string
	Path   string // below /v1
	// Permission is what the caller needs. It and Access are empty where the control socket alone serves the endpoint.
	Permission string
	// Access is AccessAuthenticated where the endpoint itself finds out what the caller may do: with what is theirs, everything.
	Access string
	// Endless ones end when they are done or the client leaves; the others within some seconds.
	Endless bool
	// Serve asks for the permission itself, too: it serves nobody but the caller in the request's context (WithCaller). An error
	// that is a *problem.Problem is for the client, any other one for the log. Then nothing has been answered yet.
	Serve func(w http.ResponseWriter, r *http.Request) error
}

// Endpoints returns what the API consists of:
//
//	GET    /info
//	GET    /modules            {"items": [Module…]}
//	GET    /modules/{name}     Module
//	GET    /modules/{name}/crashes  {"items": [Crash…]}
//	POST   /modules/{name}/start|stop|restart|enable|disable  {"items": [ModuleChange…]}, when it is done
//	POST   /reload             {"items": [ModuleChange…]}, when it is done
//	GET    /migrations?module=NAME  {"items": [ModuleMigrations…]}; without a name, of all that have some
//	GET    /migrations/plan?module=NAME  {"items": [ModulePlan…]}; as above
//	POST   /modules/{name}/migrations/up|down|redo?steps=N  MigrationEvent, one a line, then how it ended
//	GET    /packages           {"items": [InstalledPackage…]}; this and the next five on the control socket alone
//	POST   /packages?allow_unsigned=&replaces=&allow_older=  a package → 201 PackagePlan, which says its id
//	POST   /packages/plan      PackageChange → PackagePlan
//	POST   /packages/apply     PackageChange → PackageOutcome, when it is done
//	DELETE /packages/{id}      204
//	POST   /modules/{name}/approve  Approval → {"items": [ModuleChange…]}, when it is done
//	GET    /modules/{name}/data  {"items": [Holding…]}; the module need not be installed
//	GET    /modules/{name}/data/export  a tar.gz, which is whole if it ends with export.json; on the control socket alone
//	POST   /modules/{name}/data/purge  PurgeStep, one a line, then how it ended; on the control socket alone
//	GET    /logs               logs.Entry, one JSON value a line; see LogQuery for the parameters
//	POST   /stop               202 Stopping
//	GET    /users?query=&limit=&after=  Page[identity.User]
//	POST   /users              NewUser → 201 identity.User
//	POST   /users/invite       NewUser, without a password → 201 Invitation
//	GET    /users/{id}         User; {id} is an id or an e-mail address, here and below
//	PATCH  /users/{id}         UserChange → identity.User
//	DELETE /users/{id}         204
//	POST   /users/{id}/enable|disable  204
//	PUT    /users/{id}/password  {"password"} → 204
//	POST   /users/{id}/reset   201 Link
//	GET    /users/{id}/sessions  {"items": [auth.Session…]}
//	DELETE /users/{id}/sessions, /users/{id}/sessions/{session}  204
//	GET    /roles              {"items": [authz.Role…]}
//	POST   /roles              NewRole → 201 authz.Role
//	GET    /roles/{name}       Role
//	DELETE /roles/{name}       204
//	POST   /roles/{name}/grant|revoke  {"permissions": [pattern…]} → authz.Role
//	POST   /roles/{name}/assign|unassign  Subjects → 204
//	GET    /groups             {"items": [authz.Group…]}
//	POST   /groups             NewRole → 201 authz.Group
//	GET    /groups/{name}      Group
//	DELETE /groups/{name}      204
//	POST   /groups/{name}/add|remove  Subjects without groups → 204
//	GET    /permissions        Permissions
//	GET    /authz/check?subject=ID|EMAIL&permission=NAME  Check
//	GET    /tokens?owner=me|ID|EMAIL  {"items": [Token…]}; without an owner, of all
//	POST   /tokens             NewToken → 201 CreatedToken
//	DELETE /tokens/{id}        204
//	GET    /audit?…            Page[audit.Row]; see Client.Audit for the parameters
//	GET    /audit/tail?after=SEQ  audit.Row, one JSON value a line, and those that come; without a number, only those
//	GET    /audit/export?…     audit.Row, one JSON value a line
//	GET    /audit/verify?expect=SEQ:HASH  audit.Report
//	GET    /events/types       {"items": [EventType…]}
//	GET    /events/tail?type=PATTERN  bus.Event in CloudEvents' JSON format, one value a line
//	GET    /events/pending     Pending
//	POST   /events             NewEvent → 201 bus.Event
//	GET    /dead-letters?subscription=&module=&type=&reason=&limit=&after=  Page[DeadLetter]
//	GET    /dead-letters/{id}  DeadLetter
//	POST   /dead-letters/retry|purge  LetterFilter → Count
//	POST   /keys/rotate        204
//	POST   /setup-link         201 Link; on the control socket alone
func Endpoints(deps Deps) []Endpoint { return (&api{deps: deps}).endpoints() }

func (a *api) endpoints() []Endpoint {
	all := slices.Concat(a.platformEndpoints(), a.packageEndpoints(), a.userEndpoints(), a.accessEndpoints(),
		a.credentialEndpoints(), a.eventEndpoints())
	for i := range all {
		all[i].Serve = a.guarded(all[i])
	}
	return all
}

// guarded asks for the permission before it serves. The gateway has asked already: an endpoint that it should mount with another
// one by mistake stays closed.
func (a *api) guarded(e Endpoint) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if e.Access != AccessAuthenticated {
			if err := a.require(r.Context(), e.Permission); err != nil {
				return explained(err)
			}
		}
		return explained(e.Serve(w, r))
	}
}

const (
	get   = http.MethodGet
	post  = http.MethodPost
	put   = http.MethodPut
	patch = http.MethodPatch
	del   = http.MethodDelete
)

func (a *api) platformEndpoints() []Endpoint {
	const read, manage, run = "platform.module.read", "platform.module.manage", "platform.migration.run"
	const status, up = "platform.migration.read", "/modules/{name}/migrations/"
	start, stop, restart := a.order(OrderStart), a.order(OrderStop), a.order(OrderRestart)
	enable, disable := a.order(OrderEnable), a.order(OrderDisable)
	return []Endpoint{
		{ID: "info", Method: get, Path: "/info", Permission: "platform.system.read", Serve: a.info},
		{ID: "listModules", Method: get, Path: "/modules", Permission: read, Serve: a.modules},
		{ID: "getModule", Method: get, Path: "/modules/{name}", Permission: read, Serve: a.module},
		{ID: "listCrashes", Method: get, Path: "/modules/{name}/crashes", Permission: read, Serve: a.crashes},
		{ID: "startModule", Method: post, Path: "/modules/{name}/start", Permission: manage, Serve: start, Endless: true},
		{ID: "stopModule", Method: post, Path: "/modules/{name}/stop", Permission: manage, Serve: stop, Endless: true},
		{ID: "restartModule", Method: post, Path: "/modules/{name}/restart", Permission: manage, Serve: restart, Endless: true},
		{ID: "enableModule", Method: post, Path: "/modules/{name}/enable", Permission: manage, Serve: enable, Endless: true},
		{ID: "disableModule", Method: post, Path: "/modules/{name}/disable", Permission: manage, Serve: disable, Endless: true},
		{ID: "reloadModules", Method: post, Path: "/reload", Permission: manage, Serve: a.reload, Endless: true},
		{ID: "listMigrations", Method: get, Path: "/migrations", Permission: status, Serve: a.migrations, Endless: true},
		{ID: "planMigrations", Method: get, Path: "/migrations/plan", Permission: status, Serve: a.migrationPlan, Endless: true},
		{ID: "migrateUp", Method: post, Path: up + MigrateUp, Permission: run, Serve: a.migrate(MigrateUp), Endless: true},
		{ID: "migrateDown", Method: post, Path: up + MigrateDown, Permission: run, Serve: a.migrate(MigrateDown), Endless: true},
		{ID: "migrateRedo", Method: post, Path: up + MigrateRedo, Permission: run, Serve: a.migrate(MigrateRedo), Endless: true},
		{ID: "listData", Method: get, Path: "/modules/{name}/data", Permission: read, Serve: a.holdings, Endless: true},
		{ID: "exportData", Method: get, Path: "/modules/{name}/data/export", Serve: a.exportData, Endless: true},
		{ID: "purgeData", Method: post, Path: "/modules/{name}/data/purge", Serve: a.purgeData, Endless: true},
		{ID: "readLogs", Method: get, Path: "/logs", Permission: "platform.log.read", Serve: a.logs, Endless: true},
		{ID: "stopPlatform", Method: post, Path: "/stop", Permission: "platform.system.stop", Serve: a.stop},
	}
}

func (a *api) packageEndpoints() []Endpoint {
	return []Endpoint{
		{ID: "listPackages", Method: get, Path: "/packages", Serve: a.listPackages},
		{ID: "stagePackage", Method: post, Path: "/packages", Serve: a.stagePackage, Endless: true},
		{ID: "planPackage", Method: post, Path: "/packages/plan", Serve: a.planPackageChange, Endless: true},
		{ID: "applyPackage", Method: post, Path: "/packages/apply", Serve: a.applyPackageChange, Endless: true},
		{ID: "discardPackage", Method: del, Path: "/packages/{id}", Serve: a.discardPackage},
		{ID: "approveGrants", Method: post, Path: "/modules/{name}/approve", Serve: a.approveGrants, Endless: true},
	}
}

func (a *api) userEndpoints() []Endpoint {
	const read, create, update = "platform.user.read", "platform.user.create", "platform.user.update"
	const remove, seeSessions, endSessions = "platform.user.delete", "platform.session.read", "platform.session.end"
	return []Endpoint{
		{ID: "listUsers", Method: get, Path: "/users", Permission: read, Serve: a.users},
		{ID: "createUser", Method: post, Path: "/users", Permission: create, Serve: a.createUser},
		{ID: "inviteUser", Method: post, Path: "/users/invite", Permission: create, Serve: a.inviteUser},
		{ID: "getUser", Method: get, Path: "/users/{id}", Permission: read, Serve: a.user},
		{ID: "updateUser", Method: patch, Path: "/users/{id}", Permission: update, Serve: a.updateUser},
		{ID: "deleteUser", Method: del, Path: "/users/{id}", Permission: remove, Serve: a.deleteUser},
		{ID: "enableUser", Method: post, Path: "/users/{id}/enable", Permission: update, Serve: a.enableUser},
		{ID: "disableUser", Method: post, Path: "/users/{id}/disable", Permission: update, Serve: a.disableUser},
		{ID: "setPassword", Method: put, Path: "/users/{id}/password", Permission: update, Serve: a.setPassword},
		{ID: "resetPassword", Method: post, Path: "/users/{id}/reset", Permission: update, Serve: a.resetPassword},
		{ID: "listUserSessions", Method: get, Path: "/users/{id}/sessions", Permission: seeSessions, Serve: a.userSessions},
		{ID: "endUserSessions", Method: del, Path: "/users/{id}/sessions", Permission: endSessions, Serve: a.endSessions},
		{ID: "endUserSession", Method: del, Path: "/users/{id}/sessions/{session}", Permission: endSessions, Serve: a.endSession},
	}
}

func (a *api) accessEndpoints() []Endpoint {
	const read, manage = "platform.role.read", "platform.role.manage"
	const see, change = "platform.group.read", "platform.group.manage"
	grant, revoke, assign, unassign := a.editRole(grants), a.editRole(revokes), a.assignRole(assigns), a.assignRole(unassigns)
	return []Endpoint{
		{ID: "listRoles", Method: get, Path: "/roles", Permission: read, Serve: a.roles},
		{ID: "createRole", Method: post, Path: "/roles", Permission: manage, Serve: a.createRole},
		{ID: "getRole", Method: get, Path: "/roles/{name}", Permission: read, Serve: a.role},
		{ID: "deleteRole", Method: del, Path: "/roles/{name}", Permission: manage, Serve: a.deleteRole},
		{ID: "grantRole", Method: post, Path: "/roles/{name}/grant", Permission: manage, Serve: grant},
		{ID: "revokeRole", Method: post, Path: "/roles/{name}/revoke", Permission: manage, Serve: revoke},
		{ID: "assignRole", Method: post, Path: "/roles/{name}/assign", Permission: manage, Serve: assign},
		{ID: "unassignRole", Method: post, Path: "/roles/{name}/unassign", Permission: manage, Serve: unassign},
		{ID: "listGroups", Method: get, Path: "/groups", Permission: see, Serve: a.groups},
		{ID: "createGroup", Method: post, Path: "/groups", Permission: change, Serve: a.createGroup},
		{ID: "getGroup", Method: get, Path: "/groups/{name}", Permission: see, Serve: a.group},
		{ID: "deleteGroup", Method: del, Path: "/groups/{name}", Permission: change, Serve: a.deleteGroup},
		{ID: "addMembers", Method: post, Path: "/groups/{name}/add", Permission: change, Serve: a.addMembers},
		{ID: "removeMembers", Method: post, Path: "/groups/{name}/remove", Permission: change, Serve: a.removeMembers},
		{ID: "listPermissions", Method: get, Path: "/permissions", Permission: read, Serve: a.permissions},
		{ID: "checkAccess", Method: get, Path: "/authz/check", Permission: "platform.authz.check", Serve: a.check},
	}
}

func (a *api) credentialEndpoints() []Endpoint {
	const log = "platform.audit.read"
	return []Endpoint{
		{ID: "listTokens", Method: get, Path: "/tokens", Access: AccessAuthenticated, Serve: a.tokens},
		{ID: "createToken", Method: post, Path: "/tokens", Access: AccessAuthenticated, Serve: a.createToken},
		{ID: "revokeToken", Method: del, Path: "/tokens/{id}", Access: AccessAuthenticated, Serve: a.revokeToken},
		{ID: "searchAudit", Method: get, Path: "/audit", Permission: log, Serve: a.searchAudit},
		{ID: "tailAudit", Method: get, Path: "/audit/tail", Permission: log, Serve: a.tailAudit, Endless: true},
		{ID: "exportAudit", Method: get, Path: "/audit/export", Permission: log, Serve: a.exportAudit, Endless: true},
		{ID: "verifyAudit", Method: get, Path: "/audit/verify", Permission: log, Serve: a.verifyAudit, Endless: true},
		{ID: "rotateKeys", Method: post, Path: "/keys/rotate", Permission: "platform.key.rotate", Serve: a.rotateKeys},
		{ID: "makeSetupLink", Method: post, Path: "/setup-link", Serve: a.setupLink},
	}
}
