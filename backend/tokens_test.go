package backend

import (
	"fmt"
	"testing"
)

func TestTokensThatRunInACircleAreFoundOut(t *testing.T) {
	for _, tail := range []int{0, 1, 5, 100} {
		for _, circle := range []int{1, 2, 3, 17, 1000} {
			var tokens Tokens
			for i := 0; ; i++ {
				page := i
				if i > tail {
					page = tail + (i-tail)%circle
				}
				if tokens.Again(fmt.Sprint("page ", page)) {
					if i < tail+circle {
						t.Errorf("%d pages, then a circle of %d: page %d was no repetition", tail, circle, i)
					}
					break
				}
				if i > 4*(tail+circle) {
					t.Fatalf("%d pages, then a circle of %d: not found out after %d", tail, circle, i)
				}
			}
		}
	}
	var tokens Tokens
	for i := range 10_000 {
		if tokens.Again(fmt.Sprint(i)) {
			t.Fatalf("token %d is new", i)
		}
	}
}
