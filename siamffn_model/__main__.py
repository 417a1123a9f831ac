"""`python -m siamffn_model`: the `siamffn` command, for torchrun too."""

from siamffn_model.cli.main import main

main(prog_name='siamffn')
