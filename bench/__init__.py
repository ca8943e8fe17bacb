"""Side-by-side measurements against other clients; `script/bench` runs them."""
