"""WHERE: which parts of the picture a target rests on. One file per family; a method is a pure function of Evidence."""
