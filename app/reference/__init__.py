"""The pages of docs/reference/, written from the code they are about: `make docs` writes them, a test holds them."""
