"""Networks and the parts they are made of, in 2D and 3D: plain ``nn.Module``s, usable with torch alone."""
