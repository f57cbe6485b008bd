"""The drawn hall: a person who acts in a training hall, with the truth about every pixel."""
