"""What each study of `rtx eval` asks, in one line; the command line knows it before anything heavy is imported."""

from __future__ import annotations

QUESTIONS = {
    "agreement": "How alike are the maps of two explainers?",
    "motion": "How much of the heat lies where something moves, and what does the selective step keep?",
    "localise": "Do maps find who acts?",
    "faithful": "Does the score depend on what maps call relevant?",
    "sanity": "Do maps depend on what the network has learned?",
    "overhead": "What does explaining cost?",
    "classes": "Do maps say more of the class that is shown than of another?",
    "cheat": "Does an explainer catch a network that knows a kick by a red mat?",
}
