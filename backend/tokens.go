package backend

// Tokens watches the tokens of one listing's pages. A store whose pages lead back to an
// earlier one would keep its caller for ever. The zero value is ready.
//
// It remembers one token, and another one after twice as many pages (R. P. Brent, "An
// improved Monte Carlo factorization algorithm", BIT 20, 1980): a listing that runs in a
// circle is found out within a few rounds of it.
type Tokens struct {
	kept        string
	seen, until int
}

// Again tells whether a token that is not empty is known to have come before.
func (t *Tokens) Again(token string) bool {
	if token == t.kept {
		return true
	}
	if t.seen++; t.seen >= t.until {
		t.kept, t.seen, t.until = token, 0, max(1, 2*t.until)
	}
	return false
}
