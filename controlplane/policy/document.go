package policy

import (
	"time"

	"github.com/stampgate/stampgate/geo"
)

// A Document is the policy of one boundary as its operators write it, in YAML.
// Decode makes one, Validate says what is wrong with it, Compile puts it into
// the form a gateway works with.
type Document struct {
	// Format is the format of the document: 1, which is also what none means.
	Format    int          `yaml:"format,omitempty"`
	Boundary  geo.Boundary `yaml:"boundary"`
	Residency Residency    `yaml:"residency"`
	Stamps    []Stamp      `yaml:"stamps"`
	Backends  []Backend    `yaml:"backends"`
	Routes    []Route      `yaml:"routes"`
	Clients   []Client     `yaml:"clients,omitempty"`
	// OnModelMismatch is what follows when a deployment answers as another model
	// than its route's, as happens when Azure upgrades it: avoid (default) or alarm.
	OnModelMismatch OnModelMismatch `yaml:"onModelMismatch,omitempty"`
	// DebugHeaders lets replies name the backends and deployments that were tried.
	DebugHeaders bool `yaml:"debugHeaders,omitempty"`
	// ExternalReferences says what becomes of requests that would make a backend
	// fetch from, or send to, a place of the client's choice. The default is refuse
	// where processing is in-boundary, allow where it is at-rest.
	ExternalReferences ExternalReferences `yaml:"externalReferences,omitempty"`
	// OtherBoundaries are the addresses of other boundaries' gateways, by their
	// name. A client that comes with a key of one of them is told where to go.
	OtherBoundaries map[string]string `yaml:"otherBoundaries,omitempty"`
}

// OnModelMismatch says what an answer of another model leads to.
type OnModelMismatch string

// The choices. Either way there is an alarm, and the answer is passed on.
const (
	MismatchAvoid OnModelMismatch = "avoid" // the target is avoided while another is right
	MismatchAlarm OnModelMismatch = "alarm" // nothing more
)

// Residency says where data may be processed.
type Residency struct {
	Countries               []geo.Country            `yaml:"countries"`
	DataZones               map[string][]geo.Country `yaml:"dataZones,omitempty"`
	Processing              geo.Processing           `yaml:"processing,omitempty"`
	RequirePrivateAddresses bool                     `yaml:"requirePrivateAddresses,omitempty"`
	// RegionalProcessing is how far a regional deployment reaches: geography
	// (default), every country of its region's geography; or region.
	RegionalProcessing geo.RegionalProcessing `yaml:"regionalProcessing,omitempty"`
}

// A Stamp is all gateways of the boundary in one region.
type Stamp struct {
	Region   geo.RegionID   `yaml:"region"`
	Country  geo.Country    `yaml:"country,omitempty"`  // of an on-premises site
	Fallback []geo.RegionID `yaml:"fallback,omitempty"` // passive regions, in order
	// FallbackOn restricts what may send work to a passive region: any (default),
	// failure or throttling.
	FallbackOn FallbackOn  `yaml:"fallbackOn,omitempty"`
	Health     StampHealth `yaml:"health,omitempty"`
}

// FallbackOn is the reason for which a passive region may be used.
type FallbackOn string

// The reasons.
const (
	FallbackOnAny        FallbackOn = "any"
	FallbackOnFailure    FallbackOn = "failure"
	FallbackOnThrottling FallbackOn = "throttling"
)

// StampHealth is the operator's choice of what the stamp's health endpoint says
// in two states that can be read either way. Each is warn (default) or fail.
type StampHealth struct {
	OnlyPassive  Severity `yaml:"onlyPassive,omitempty"`
	AllThrottled Severity `yaml:"allThrottled,omitempty"`
}

// Severity is warn or fail.
type Severity string

// The severities.
const (
	Warn Severity = "warn"
	Fail Severity = "fail"
)

// Kind is what a backend is.
type Kind string

// The kinds.
const (
	AzureOpenAI      Kind = "azure-openai"
	OpenAICompatible Kind = "openai-compatible"
)

// A Backend is one Azure OpenAI instance, or a server that speaks like OpenAI.
type Backend struct {
	Name       string       `yaml:"name"`
	Region     geo.RegionID `yaml:"region"`
	Country    geo.Country  `yaml:"country,omitempty"` // required for openai-compatible
	Endpoint   string       `yaml:"endpoint"`
	Kind       Kind         `yaml:"kind,omitempty"`
	Addresses  []string     `yaml:"addresses,omitempty"` // CIDR ranges
	Credential Credential   `yaml:"credential"`
	Scope      string       `yaml:"scope,omitempty"`
	Probe      Probe        `yaml:"probe,omitempty"`
	// InstantModels is what the account's list of instant models holds. Azure serves
	// a name on that list without a deployment, from a pool that spans the world.
	InstantModels InstantModels `yaml:"instantModels,omitempty"`
	Deployments   []Deployment  `yaml:"deployments"`
}

// InstantModels says whether an account serves models without a deployment.
type InstantModels string

// The answers.
const (
	InstantNone    InstantModels = "none"    // default: the operator says that the account's allow list is empty
	InstantAllowed InstantModels = "allowed" // it is not: see Validate for what a boundary then refuses
)

// Probe is how a gateway finds out whether an idle backend can be reached. None
// of the ways costs tokens.
type Probe string

// The ways to probe.
const (
	ProbeModels  Probe = "models"  // GET of the models list; default of azure-openai
	ProbeConnect Probe = "connect" // TCP and TLS alone; default of openai-compatible, which may bill or scale to zero
	ProbeOff     Probe = "off"
)

// A Credential names how gateways prove themselves to a backend. Exactly one
// field is set; none of them can hold the secret itself.
type Credential struct {
	ManagedIdentity  *ManagedIdentity  `yaml:"managedIdentity,omitempty"`
	WorkloadIdentity *WorkloadIdentity `yaml:"workloadIdentity,omitempty"`
	APIKeyFile       string            `yaml:"apiKeyFile,omitempty"`
	APIKeyEnv        string            `yaml:"apiKeyEnv,omitempty"`
}

// ManagedIdentity is the identity of the machine; ClientID picks a
// user-assigned one.
type ManagedIdentity struct {
	ClientID string `yaml:"clientID,omitempty"`
}

// WorkloadIdentity is a federated identity; empty fields come from the
// AZURE_… environment that the platform sets.
type WorkloadIdentity struct {
	ClientID string `yaml:"clientID,omitempty"`
	TenantID string `yaml:"tenantID,omitempty"`
}

// A Deployment is one model deployment of a backend.
type Deployment struct {
	Name                string  `yaml:"name"`
	Model               string  `yaml:"model"`
	Version             string  `yaml:"version"`
	SKU                 geo.SKU `yaml:"sku,omitempty"`
	PTU                 int     `yaml:"ptu,omitempty"`             // reserved units of a provisioned deployment
	TokensPerMinute     int     `yaml:"tokensPerMinute,omitempty"` // quota of a standard deployment
	RequestsPerMinute   int     `yaml:"requestsPerMinute,omitempty"`
	Weight              float64 `yaml:"weight,omitempty"` // replaces the weight that follows from the capacity
	SpilloverDeployment string  `yaml:"spilloverDeployment,omitempty"`
	// ServedAs are the names by which answers may call the model, beside model and
	// model-version. Of an openai-compatible deployment only these are compared.
	ServedAs []string `yaml:"servedAs,omitempty"`
}

// A Route is a name that clients ask for.
type Route struct {
	Name     string   `yaml:"name"`
	Model    string   `yaml:"model"`
	Version  string   `yaml:"version"`
	Required *bool    `yaml:"required,omitempty"` // counts for the stamp's health; default true
	Timeouts Timeouts `yaml:"timeouts,omitempty"`
	Attempts Attempts `yaml:"attempts,omitempty"`
	// EarlyHead, if set, is how long the client of a stream waits for any backend's
	// answer before it is sent 200 and comments, so that no balancer on the way cuts
	// the connection. A failure is then an error event instead of a status.
	EarlyHead Duration `yaml:"earlyHead,omitempty"`
	Tiers     []Tier   `yaml:"tiers,omitempty"` // by hand; default: from region and SKU
}

// Timeouts bound a request to this route. Zero means the default.
type Timeouts struct {
	Connect   Duration `yaml:"connect,omitempty"`   // default 2s
	FirstByte Duration `yaml:"firstByte,omitempty"` // of a stream; default 30s
	// Answer bounds one attempt at a plain answer, which begins only when it is
	// complete; default: what is left of total. Its expiry is not repeated.
	Answer Duration `yaml:"answer,omitempty"`
	Idle   Duration `yaml:"idle,omitempty"`  // between two reads of an answer; default 60s
	Total  Duration `yaml:"total,omitempty"` // default 10m
}

// Attempts says how hard to try. Zero means the default.
type Attempts struct {
	Max             int   `yaml:"max,omitempty"`             // attempts that may have cost a backend work; default 3
	RepeatAmbiguous *bool `yaml:"repeatAmbiguous,omitempty"` // sent in full but unanswered: repeat if stateless; default true
	ProbeLongGates  *bool `yaml:"probeLongGates,omitempty"`  // test a gate of over 2 minutes now and then; default true
}

// A Tier lists targets that are tried as equals, as "backend/deployment".
type Tier struct {
	Region  geo.RegionID `yaml:"region,omitempty"` // the stamp it is for; default: every stamp
	Targets []string     `yaml:"targets"`
}

// A Client may call the routes it is granted.
type Client struct {
	Name   string        `yaml:"name"`
	Keys   []ClientKey   `yaml:"keys,omitempty"`
	Entra  []EntraClient `yaml:"entra,omitempty"`
	Routes []string      `yaml:"routes"`
}

// A ClientKey is known by its hash alone.
type ClientKey struct {
	SHA256   string    `yaml:"sha256"` // of the whole key, 64 hex digits
	NotAfter time.Time `yaml:"notAfter,omitempty"`
}

// An EntraClient is an application that signs in with a token.
type EntraClient struct {
	Tenant      string `yaml:"tenant"`
	Application string `yaml:"application"`
}

// A Duration is a time.Duration that is written like "30s" in YAML.
type Duration time.Duration
