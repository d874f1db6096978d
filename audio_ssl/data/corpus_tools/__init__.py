"""What files of corpora are made with; they import it from `audio_ssl.data.corpus`."""
