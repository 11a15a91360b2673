"""`python -m recap_train`."""

from recap_train import main

main()
