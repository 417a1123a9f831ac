"""Run the `siamffn` command with `python -m siamffn_model`, which torchrun can start."""

from siamffn_model.cli.main import main

main(prog_name='siamffn')
