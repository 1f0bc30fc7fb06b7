package descriptor

import "time"

// SetAskedTime says how long who has asked may stay: a busy machine may stop for
// longer than the product's own.
func (l *Listener) SetAskedTime(d time.Duration) { l.asked = d }
