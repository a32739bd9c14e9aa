package admin

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/platformd/platformd/core/internal/jsonbody"
)

// signatureHeader carries the text of a package's signature in base64.
const signatureHeader = "Platformd-Signature"

// longestSignature is more than any signature has, in bytes.
const longestSignature = 4 << 10

// Packages returns those of the daemon. A call takes as long as the modules.
func (c *Client) Packages() Packages {
	patient := c.patient()
	return Packages{
		List: patient.packages, Stage: patient.stage, Plan: patient.planPackage, Apply: patient.applyPackage, Discard: patient.discard,
		Approve: patient.approve,
	}
}

func (c *Client) packages(ctx context.Context) ([]InstalledPackage, error) {
	return collect[InstalledPackage](ctx, c, request{method: http.MethodGet, path: "/v1/packages"})
}

func (c *Client) stage(ctx context.Context, from io.Reader, o StageOptions) (*PackagePlan, error) {
	query := url.Values{}
	for name, set := range map[string]bool{
		"allow_unsigned": o.AllowUnsigned, "replaces": o.Replaces, "allow_older": o.AllowOlder,
	} {
		query.Set(name, strconv.FormatBool(set))
	}
	r := request{method: http.MethodPost, path: "/v1/packages?" + query.Encode(), stream: from}
	if len(o.Signature) > 0 {
		r.header = http.Header{signatureHeader: {base64.StdEncoding.EncodeToString(o.Signature)}}
	}
	return ask[*PackagePlan](ctx, c, r)
}

func (c *Client) planPackage(ctx context.Context, change PackageChange) (*PackagePlan, error) {
	return ask[*PackagePlan](ctx, c, request{method: http.MethodPost, path: "/v1/packages/plan", body: change})
}

func (c *Client) applyPackage(ctx context.Context, change PackageChange) (*PackageOutcome, error) {
	return ask[*PackageOutcome](ctx, c, request{method: http.MethodPost, path: "/v1/packages/apply", body: change})
}

func (c *Client) discard(ctx context.Context, staged string) error {
	_, err := ask[struct{}](ctx, c, request{method: http.MethodDelete, path: "/v1/packages/" + url.PathEscape(staged)})
	return err
}

func (c *Client) approve(ctx context.Context, module string, grants []string) ([]ModuleChange, error) {
	path := "/v1/modules/" + url.PathEscape(module) + "/approve"
	return collect[ModuleChange](ctx, c, request{method: http.MethodPost, path: path, body: Approval{Grants: grants}})
}

// Approval names grants that a module may have; without any, it is all that it waits for.
type Approval struct {
	Grants []string `json:"grants"`
}

func (a *api) listPackages(w http.ResponseWriter, r *http.Request) error {
	all, err := a.deps.Packages.List(r.Context())
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, list[InstalledPackage]{Items: orEmpty(all)})
}

func (a *api) stagePackage(w http.ResponseWriter, r *http.Request) error {
	given, err := parameters(r, "allow_unsigned", "replaces", "allow_older")
	if err != nil {
		return err
	}
	encoded := r.Header.Get(signatureHeader)
	signature, err := base64.StdEncoding.DecodeString(encoded[:min(len(encoded), longestSignature)])
	if err != nil {
		return badRequest(fmt.Errorf("the header %s: %w", signatureHeader, err))
	}
	noDeadline(w)
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	plan, err := a.deps.Packages.Stage(r.Context(), r.Body, StageOptions{
		Signature: bytes.TrimSpace(signature), AllowUnsigned: given["allow_unsigned"] == "true",
		Replaces: given["replaces"] == "true", AllowOlder: given["allow_older"] == "true",
	})
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusCreated, plan)
}

func (a *api) planPackageChange(w http.ResponseWriter, r *http.Request) error {
	var c PackageChange
	if err := jsonbody.Read(w, r, &c); err != nil {
		return err
	}
	noDeadline(w)
	plan, err := a.deps.Packages.Plan(r.Context(), c)
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, plan)
}

func (a *api) applyPackageChange(w http.ResponseWriter, r *http.Request) error {
	var c PackageChange
	if err := jsonbody.Read(w, r, &c); err != nil {
		return err
	}
	noDeadline(w)
	what := change{action: "package." + c.Act, resource: "module/" + c.Module, details: packageDetails(c)}
	var outcome *PackageOutcome
	err := a.perform(r, &what, func(ctx context.Context) (err error) {
		outcome, err = a.deps.Packages.Apply(ctx, c)
		if outcome != nil {
			what.resource = "module/" + outcome.Module
			what.details = append(what.details, "from", outcome.From, "to", outcome.To)
		}
		return err
	})
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, outcome)
}

// packageDetails is what the audit log says of a change.
func packageDetails(c PackageChange) (details []string) {
	if c.Purge {
		details = append(details, "purge", "true")
	}
	for _, grant := range c.Approve {
		details = append(details, "approve", grant)
	}
	return details
}

func (a *api) discardPackage(w http.ResponseWriter, r *http.Request) error {
	if err := a.deps.Packages.Discard(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) approveGrants(w http.ResponseWriter, r *http.Request) error {
	var approval Approval
	if err := jsonbody.Read(w, r, &approval); err != nil {
		return err
	}
	noDeadline(w)
	what := change{action: "package.approve", resource: "module/" + r.PathValue("name")}
	for _, grant := range approval.Grants {
		what.details = append(what.details, "approve", grant)
	}
	var done []ModuleChange
	err := a.perform(r, &what, func(ctx context.Context) (err error) {
		done, err = a.deps.Packages.Approve(ctx, r.PathValue("name"), approval.Grants)
		return err
	})
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, list[ModuleChange]{Items: orEmpty(done)})
}
