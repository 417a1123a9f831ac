"""The benchmarks by name, with their protocols and published scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from siamffn_model.datasets.got10k_val import read_got10k_val
from siamffn_model.datasets.otb import read_otb2015
from siamffn_model.datasets.sequences import Sequence, read_sequences
from siamffn_model.datasets.uav123 import read_uav20l, read_uav123
from siamffn_model.datasets.vot import read_vot


@dataclass(frozen=True)
class Benchmark:
    """A set of sequences and the protocol of its evaluation.

    Attributes:
        title: name of the benchmark in papers.
        read: takes the folder, and whether to open the images, and returns the sequences; raises
            `DataError` that names the sequence and the remedy.
        result_file: path of a sequence's result file in the folder of a tracker.
        is_test_set: trackers are compared on this set, so no parameter may be tuned on it.
        eao_lengths: the interval of sequence lengths of the expected average overlap (EAO), for
            VOT's protocol with resets; None for one-pass evaluation (OPE).
        published: tracker -> (success, precision) as published, for comparison.
    """

    title: str
    read: Callable[[Path, bool], list[Sequence]]
    result_file: str = '{name}.txt'
    is_test_set: bool = True
    eao_lengths: tuple[int, int] | None = None
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)


# SiamFFN: Bao et al., Electronics 2023, 12, 1568, section 4.4. The SiamBAN and SiamRPN++ that they
# trained themselves reach .543/.713 and .528/.696 there (table 4). BACF and all below it: fig/ of
# github.com/vision4robotics/DCFTracking4UAV, verified: our evaluation of its raw results gives the
# same scores. The others were collected from papers and are not verified.
UAV20L = {
    'SiamGAT': (0.620, 0.796),
    'LightTrack': (0.620, 0.791),
    'SiamRPN++': (0.579, 0.758),
    'SiamFFN': (0.575, 0.747),
    'SiamFC++': (0.575, 0.742),
    'SiamBAN': (0.564, 0.736),
    'SiamAPN++': (0.533, 0.703),
    'SiamCAR': (0.523, 0.687),
    'SiamAPN': (0.518, 0.692),
    'DaSiamRPN': (0.442, 0.631),
    'BACF': (0.415, 0.584),
    'STRCF': (0.410, 0.575),
    'ARCF-H': (0.386, 0.557),
    'MCCT-H': (0.378, 0.568),
    'ECO-HC': (0.377, 0.498),
    'AutoTrack': (0.349, 0.512),
    'SRDCF': (0.343, 0.507),
    'KCF': (0.196, 0.311),
}

# SiamFFN: the paper's text, as above. SiamRPN++: MODEL_ZOO.md of github.com/STVIR/pysot. SiamBAN:
# MODEL_ZOO.md of github.com/hqucv/siamban. DaSiamRPN: figs/ of
# github.com/StrangerZhang/pysot-toolkit. MDNet, SiamFC (3 scales) and CFNet (conv2): as papers
# usually quote them. Our evaluation of the raw results gives the same scores for SiamBAN, MDNet,
# SiamFC and CFNet, and a precision of .881 for DaSiamRPN.
OTB2015 = {
    'SiamRPN++': (0.696, 0.914),
    'SiamBAN': (0.696, 0.910),
    'SiamFFN': (0.694, 0.903),
    'MDNet': (0.678, 0.909),
    'DaSiamRPN': (0.658, 0.880),
    'SiamFC': (0.582, 0.771),
    'CFNet': (0.568, 0.748),
}

VOT_FILE = 'baseline/{name}/{name}_001.txt'

BENCHMARKS: dict[str, Benchmark] = {
    'sequences': Benchmark('sequences', read_sequences, is_test_set=False),
    'uav20l': Benchmark('UAV20L', read_uav20l, published=UAV20L),
    'uav123': Benchmark('UAV123', read_uav123),
    'otb2015': Benchmark('OTB-2015', read_otb2015, published=OTB2015),
    # The EAO intervals of 2018 and 2019 are verified: raw results give the published EAO. That of
    # 2016 is the one in PySOT's tool kit.
    'vot2016': Benchmark('VOT2016', read_vot, VOT_FILE, eao_lengths=(108, 371)),
    'vot2018': Benchmark('VOT2018', read_vot, VOT_FILE, eao_lengths=(100, 356)),
    'vot2019': Benchmark('VOT2019', read_vot, VOT_FILE, eao_lengths=(46, 291)),
    'got10k': Benchmark('GOT-10k val', read_got10k_val, '{name}/{name}_001.txt', is_test_set=False),
}
