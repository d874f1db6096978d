"""Tools for corpus files, which import them from `audio_ssl.data.corpus`."""
