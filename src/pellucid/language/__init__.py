"""In words: sentences made of measurements, each with the test that would make it false."""
