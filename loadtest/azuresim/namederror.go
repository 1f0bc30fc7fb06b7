package azuresim

import "net/http"

// The errors that a fault can name, each with the status that Azure gives it
// unless the fault says another.
const (
	ErrorServer            = "server_error"              // 500
	ErrorRateLimit         = "rate_limit_exceeded"       // 429, without any wait
	ErrorQuota             = "insufficient_quota"        // 429
	ErrorInvalidRequest    = "invalid_request_error"     // 400
	ErrorContextLength     = "context_length_exceeded"   // 400
	ErrorContentFilter     = "content_filter"            // 400
	ErrorAPIVersion        = "api_version_not_supported" // 400
	ErrorModelNotFound     = "model_not_found"           // 404
	ErrorDeploymentMissing = "DeploymentNotFound"        // 404
	ErrorRetired           = "model_retired"             // 410
)

// FaultErrors lists every error that a fault can name.
func FaultErrors() []string {
	return []string{
		ErrorServer, ErrorRateLimit, ErrorQuota, ErrorInvalidRequest, ErrorContextLength, ErrorContentFilter,
		ErrorAPIVersion, ErrorModelNotFound, ErrorDeploymentMissing, ErrorRetired,
	}
}

// namedError is the answer for an error's name.
func namedError(name, deployment, requestID string) *answer {
	switch name {
	case ErrorRateLimit:
		return modelError(http.StatusTooManyRequests, "Rate limit reached for requests.", "requests", "", name)
	case ErrorQuota:
		return modelError(http.StatusTooManyRequests, "You exceeded your current quota, please check your plan and billing details. "+
			"For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.", name, "", name)
	case ErrorInvalidRequest:
		return modelError(http.StatusBadRequest, "Invalid value for parameter.", name, "", "invalid_value")
	case ErrorContextLength:
		return modelError(http.StatusBadRequest, "This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens. "+
			"Please reduce the length of the messages.", ErrorInvalidRequest, "messages", name)
	case ErrorContentFilter:
		return &answer{status: http.StatusBadRequest, body: filteredBody}
	case ErrorAPIVersion:
		return plainError(http.StatusBadRequest, "BadRequest", "API version not supported")
	case ErrorModelNotFound:
		return modelError(http.StatusNotFound, "The model `"+deployment+"` does not exist or you do not have access to it.", ErrorInvalidRequest, "", name)
	case ErrorDeploymentMissing:
		return deploymentNotFound(false)
	case ErrorRetired:
		return retired()
	}
	return &answer{status: http.StatusInternalServerError, body: overloaded(requestID)}
}

// retired is the answer after a model's retirement. Only its status is
// documented, code and message are not.
func retired() *answer {
	return plainError(http.StatusGone, "ModelDeprecated", "The model of this deployment has been retired and no longer serves requests.")
}

// eventError is the error that a fault sends as an event.
func (x *exchange) eventError(f *Fault) *answer {
	return namedError(f.Error, x.match.deployment, x.requestID)
}

// servedModel is what an answer calls its model.
func (x *exchange) servedModel(name string) string {
	if x.fault != nil && x.fault.Kind == FaultServedAs {
		return x.fault.Model
	}
	return name
}
