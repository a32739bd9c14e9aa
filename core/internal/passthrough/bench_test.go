package passthrough_test

const envRole = "PASSTHROUGH_ROLE"

func playRole() {}
