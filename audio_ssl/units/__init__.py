"""Units: discrete codes of audio, from a layer and a code book or from a codec, with their times and their quality."""
