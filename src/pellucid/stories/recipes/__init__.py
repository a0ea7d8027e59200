"""Recipes: several nets and one narrator together make a checked text of a picture, or of two."""
