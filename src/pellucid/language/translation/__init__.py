"""Features of a vision model put into words by a language model; both stay as they are, a small net between learns."""
