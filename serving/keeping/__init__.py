"""What becomes of the requests and answers that gateway workers hand over: compared, and kept where asked for."""
