package stratum_test

// runChild is what this test binary does when a test has started it as a process
// of its own.
func runChild(string) {}
