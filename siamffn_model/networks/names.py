"""The names of the networks in `zoo.MODELS`, without PyTorch, whose import takes seconds."""

MODEL_NAMES = (
    'siamffn_lite0',
    'siamffn_lite0_s16',
    'siamban_lite0',
    'siamffn_r50',
    'siamffn_r50_1x1',
    'siamban_r50',
    'siamrpnpp_r50',
    'siamrpn_alex',
    'siamfc_alex',
)
