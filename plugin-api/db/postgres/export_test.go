package postgres

// ConnectTimeout is how long an attempt to connect may take, where the URL does not say it.
const ConnectTimeout = connectTimeout
