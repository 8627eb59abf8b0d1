// Only fetched, never built: the custom resource definitions of other projects. Go checks the modules
// against go.sum.
module scopeway.example/crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
