"""What others do about wrong labels, each in a file: arrays in, a score or a list of tiles out. No truth is here."""
