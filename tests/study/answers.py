"""Answers of a recogniser that gets so many of five words wrong."""

import csv

from audio_ssl.fairness.predictions import read_predictions

REFERENCE = "one two three four five"


def answers(folder, wrong, speakers=6):
    """One clip of each speaker; `wrong` is group to the number of wrong words."""
    folder.mkdir()
    with (folder / "answers.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "reference", "hypothesis", "speaker", "gender", "seconds"])
        for group, errors in wrong.items():
            for index in range(speakers):
                words = ["zero"] * errors + REFERENCE.split()[errors:]
                rows.writerow([f"{group}{index}", REFERENCE, " ".join(words), f"{group.lower()}{index}", group, 3.6])
    return read_predictions(folder / "answers.csv")
