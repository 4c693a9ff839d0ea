package explain

// Raced lets outside tests do less under the race detector.
const Raced = raced
