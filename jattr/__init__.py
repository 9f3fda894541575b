"""jattr tells which generative model made a picture, by inverting the candidates."""
