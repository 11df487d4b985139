"""The addresses of this machine, and the kernel's news of them."""
