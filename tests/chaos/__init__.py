"""The release binary tortured from outside, and judged by a checker that knows nothing of the engine."""
