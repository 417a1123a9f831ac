"""config/security: the policy is what the node uses, no more. And: nothing it reads is executed."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from siamffn.srv import InitTarget, ListTargets

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.tracking import State

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer

ROOT = Path(__file__).parents[3]
POLICY = ROOT / 'config' / 'security' / 'tracker.policy.xml'
GUIDE = ROOT / 'docs' / 'security.md'
SECOND = 10**9
Names = dict[str, set[str]]  # of topics and services, by a verb of VERBS

VERBS = {  # of a policy: what they are about, and how the graph calls who does that
    'publish': ('topics', 'publisher'),
    'subscribe': ('topics', 'subscriber'),
    'reply': ('services', 'service'),
    'request': ('services', 'client'),
}
DDS = {  # topics that one writes and reads for that, as the ROS middleware names them
    'publish': ('rt{}', ''),
    'subscribe': ('', 'rt{}'),
    'reply': ('rr{}Reply', 'rq{}Request'),
    'request': ('rq{}Request', 'rr{}Reply'),
}
GRAPH = 'ros_discovery_info'  # the DDS topic by which nodes know each other

# What `ros2 security create_keystore` asks for: everybody is known, all is encrypted.
GOVERNANCE = """\
<dds><domain_access_rules><domain_rule>
  <domains><id>{domain}</id></domains>
  <allow_unauthenticated_participants>false</allow_unauthenticated_participants>
  <enable_join_access_control>true</enable_join_access_control>
  <discovery_protection_kind>ENCRYPT</discovery_protection_kind>
  <liveliness_protection_kind>ENCRYPT</liveliness_protection_kind>
  <rtps_protection_kind>SIGN</rtps_protection_kind>
  <topic_access_rules><topic_rule>
    <topic_expression>*</topic_expression>
    <enable_discovery_protection>true</enable_discovery_protection>
    <enable_liveliness_protection>true</enable_liveliness_protection>
    <enable_read_access_control>true</enable_read_access_control>
    <enable_write_access_control>true</enable_write_access_control>
    <metadata_protection_kind>ENCRYPT</metadata_protection_kind>
    <data_protection_kind>ENCRYPT</data_protection_kind>
  </topic_rule></topic_access_rules>
</domain_rule></domain_access_rules></dds>
"""
PERMISSIONS = """\
<dds><permissions><grant name="{enclave}">
  <subject_name>CN={enclave}</subject_name>
  <validity><not_before>{begin}</not_before><not_after>{end}</not_after></validity>
  <allow_rule>
    <domains><id>{domain}</id></domains>
    <publish><topics>{writes}</topics></publish>
    <subscribe><topics>{reads}</topics></subscribe>
  </allow_rule>
  <default>DENY</default>
</grant></permissions></dds>
"""


# What the policy allows is what the node uses


def allowed(policy: Path) -> dict[str, Names]:
    """What a policy allows, by the full name of each node."""
    found = {}
    for profile in ET.parse(policy).iter('profile'):
        space = profile.attrib['ns'].rstrip('/')
        node = f'{space}/{profile.attrib["node"]}'
        found[node] = {
            verb: {
                resolved(str(expression.text), space, node)
                for group in profile.findall(kind)
                if group.get(verb) == 'ALLOW'
                for expression in group
            }
            for verb, (kind, _) in VERBS.items()
        }
    return found


def resolved(name: str, space: str, node: str) -> str:
    """The full name of one in a policy, as SROS2 makes it."""
    if name.startswith('~/'):
        return node + name[1:]
    return name if name.startswith('/') else f'{space}/{name}'


def used(watcher: Node, node: str) -> Names:
    """What a node uses at this moment; nothing, while it is not seen."""
    space, _, name = node.rpartition('/')
    space = space or '/'
    if (name, space) not in watcher.get_node_names_and_namespaces():
        return {}
    return {
        verb: {
            found
            for found, _ in getattr(watcher, f'get_{who}_names_and_types_by_node')(name, space)
        }
        for verb, (_, who) in VERBS.items()
    }


def check_use(peer: Peer, node: str, wanted: Names) -> None:
    """Fail unless an active node comes to use exactly these names, and no more a second later."""
    if not find_spec('rclpy.type_description_service'):  # Humble
        wanted['reply'].discard(f'{node}/get_type_description')
    with suppress(AssertionError):
        peer.until(lambda: used(peer.node, node) == wanted, f'names of {node}')
    time.sleep(1)  # what is discovered last
    assert used(peer.node, node) == wanted


def test_the_policy_has_the_form_of_sros2() -> None:
    root = ET.parse(POLICY).getroot()
    assert (root.tag, root.attrib) == ('policy', {'version': '0.2.0'})
    for parent, child in (('.', 'enclaves'), ('enclaves', 'enclave'), ('.//enclave', 'profiles')):
        assert [found.tag for found in root.findall(f'{parent}/*')] == [child]
    for group in root.findall('.//profile/*'):
        (verb, rule), kind = *group.attrib.items(), group.tag
        assert rule == 'ALLOW' and VERBS[verb][0] == kind
        for expression in group:
            assert expression.tag == kind.removesuffix('s')
            assert re.fullmatch(r'(~?/)?\w+', str(expression.text)), 'a name, no pattern'


def test_sros2_reads_the_policy() -> None:
    policy = pytest.importorskip('sros2.policy', reason='sros2 is only in an apt ROS')
    assert policy.load_policy(POLICY).find('enclaves/enclave').get('path') == '/tracker'


def test_the_policy_is_what_the_node_uses(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer]
) -> None:
    start_node(use_sim_time=True).wait_for('waiting for images')  # without, there is no /clock
    check_use(make_peer(), '/tracker', allowed(POLICY)['/tracker'])


def test_the_policy_of_several_cameras(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer], tmp_path: Path
) -> None:
    commands = re.findall(r'^```bash\n(.+?)^```', GUIDE.read_text(), re.M | re.S)
    script = next(text for text in commands if '> cameras.policy.xml' in text)
    places = {**os.environ, 'POLICY': str(POLICY)}
    subprocess.run(['bash', '-e', '-c', script], cwd=tmp_path, env=places, check=True)
    policy = allowed(tmp_path / 'cameras.policy.xml')
    assert policy.keys() == {'/front/tracker', '/rear/tracker'}
    cameras = [f'--camera={name}=/{name}/image_raw' for name in ('front', 'rear')]
    node = start_node(arguments=cameras, use_sim_time=True)
    for topic in ('/front/image_raw', '/rear/image_raw'):
        node.wait_for(f'waiting for images on {topic}')
    peer = make_peer()
    for name, wanted in policy.items():
        check_use(peer, name, wanted)


# Enclaves


@contextmanager
def member(name: str) -> Iterator[Node]:
    """A node in the graph, by the security that the environment asks for."""
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield rclpy.create_node(name, context=context)
    finally:
        rclpy.shutdown(context=context)


def make_keystore(folder: Path, enclaves: Mapping[str, Names]) -> None:
    """Write keys and signed permissions of enclaves, as the commands of `ros2 security` do."""
    domain = os.environ['ROS_DOMAIN_ID']
    new_key = 'req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
    folder.mkdir()
    openssl(folder, f'{new_key} -x509 -subj /CN=ca -keyout ca.key -out ca.pem')
    for enclave, names in enclaves.items():
        at = f'enclaves{enclave}'
        (folder / at).mkdir(parents=True)
        subject = '/CN=' + enclave.replace('/', r'\/')
        openssl(folder, f'{new_key} -subj {subject} -keyout {at}/key.pem -out {at}/csr')
        signer = '-CA ca.pem -CAkey ca.key -CAcreateserial'
        openssl(folder, f'x509 -req -in {at}/csr -out {at}/cert.pem {signer}')
        for authority in ('identity_ca', 'permissions_ca'):
            shutil.copy(folder / 'ca.pem', folder / at / f'{authority}.cert.pem')
        texts = {
            'governance': GOVERNANCE.format(domain=domain),
            'permissions': permissions(enclave, names, domain),
        }
        for name, text in texts.items():
            (folder / at / f'{name}.xml').write_text(text)
            files = f'-in {at}/{name}.xml -out {at}/{name}.p7s'
            openssl(folder, f'smime -sign -text {files} -signer ca.pem -inkey ca.key')


def openssl(folder: Path, options: str) -> None:
    subprocess.run(['openssl', *options.split()], cwd=folder, check=True, capture_output=True)


def permissions(enclave: str, names: Names, domain: str) -> str:
    """The DDS permissions of what a policy allows."""
    writes, reads = (
        sorted(
            [GRAPH]
            + [
                DDS[verb][side].format(name)
                for verb, found in names.items()
                if DDS[verb][side]
                for name in found
            ]
        )
        for side in (0, 1)
    )
    now = datetime.now(timezone.utc)
    begin, end = (f'{now + timedelta(days):%Y-%m-%dT%H:%M:%S}' for days in (-1, 1))
    return PERMISSIONS.format(
        enclave=enclave,
        domain=domain,
        begin=begin,
        end=end,
        writes=''.join(f'<topic>{topic}</topic>' for topic in writes),
        reads=''.join(f'<topic>{topic}</topic>' for topic in reads),
    )


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let all that starts from now on need keys, and have those of an enclave."""

    def enter(enclave: str) -> None:
        monkeypatch.setenv('ROS_SECURITY_ENABLE', 'true')
        monkeypatch.setenv('ROS_SECURITY_STRATEGY', 'Enforce')
        monkeypatch.setenv('ROS_SECURITY_KEYSTORE', str(tmp_path / 'keystore'))
        monkeypatch.setenv('ROS_SECURITY_ENCLAVE_OVERRIDE', enclave)

    return enter


def test_without_its_keys_the_node_does_not_start(
    start_node: Callable[..., NodeProcess], secure: Callable[[str], None]
) -> None:
    secure('/tracker')
    node = start_node()
    assert node.process.wait(40) == 1
    assert 'waiting for images' not in node.text()
    assert 'security' in node.text().lower()


def test_an_enclave_keeps_others_out(
    start_node: Callable[..., NodeProcess],
    make_peer: Callable[..., Peer],
    secure: Callable[[str], None],
    clip: Scene,
    tmp_path: Path,
) -> None:
    if not shutil.which('openssl'):
        pytest.skip('there is no openssl to make keys with')
    outsider = make_peer()  # without keys, before security is on
    outsider.until(lambda: used(outsider.node, '/peer'), 'itself')
    needs = used(outsider.node, '/peer')
    rest = {**needs, 'request': needs['request'] - {'/tracker/init_target'}}
    enclaves = {'/tracker': allowed(POLICY)['/tracker'], '/user': needs, '/other': rest}
    make_keystore(tmp_path / 'keystore', enclaves)
    secure('/user')
    try:
        with member('peer'):
            pass
    except RuntimeError as error:
        if "doesn't have the security libraries" not in str(error):
            raise
        pytest.skip(f'ROS on this machine cannot do it: {" ".join(str(error).split())}')
    secure('/tracker')
    start_node()
    secure('/user')
    user = make_peer()
    user.wait_for_node()
    user.track(clip.images[0], SECOND)
    assert user.init(clip.boxes[0], SECOND, 'car').success
    assert user.track(clip.images[1], 2 * SECOND).state == State.TRACKING
    assert [found.id for found in user.detections[2 * SECOND].detections] == ['car']
    secure('/other')
    with member('peer') as other:
        asking = other.create_client(ListTargets, '/tracker/list_targets')
        user.until(asking.service_is_ready, 'a service that the other may use')
        with pytest.raises(RuntimeError):
            other.create_client(InitTarget, '/tracker/init_target')
    assert not outsider.clients['init_target'].service_is_ready()
    assert not outsider.camera.get_subscription_count() and not outsider.statuses


# What is read is not executed


LOADERS = {'pickle', 'marshal', 'shelve', 'dill', 'cloudpickle', 'joblib'}
HARMLESS = {'pickle.UnpicklingError'}  # an exception
CALLS = {'eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen', 'yaml.unsafe_load'}
CALLS |= {'torch.jit.load', 'torch.hub.load'}
ONLY_WITH = {  # calls, and the argument that makes them harmless
    'torch.load': 'weights_only=True',
    'YAML': "typ='safe'",
    'yaml.load': 'Loader=yaml.SafeLoader',
}
NEVER_WITH = {'shell=True', 'allow_pickle=True'}


def dangers(source: str) -> list[str]:
    """What in this Python source may execute what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            renamed = {alias.name for alias in node.names if alias.asname}
            found += sorted(renamed & (LOADERS | {'torch', 'yaml', 'os'}))
        elif isinstance(node, ast.ImportFrom):
            names = {f'{node.module}.{alias.name}' for alias in node.names}
            found += [name for name in sorted(names - HARMLESS) if is_danger(name)]
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            found += [name] if name.partition('.')[0] in LOADERS and name not in HARMLESS else []
        elif isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {ast.unparse(word) for word in node.keywords}
            wrong = name in CALLS or ONLY_WITH.get(name, '') not in {'', *given}
            found += [name] if wrong else sorted(given & NEVER_WITH)
    return found


def is_danger(name: str) -> bool:
    return name.partition('.')[0] in LOADERS or name in CALLS | {'torch.load', 'yaml.load'}


@pytest.mark.parametrize(
    'source',
    [
        'import pickle; pickle.loads(data)',
        'import pickle as safe',
        'from pickle import load',
        'marshal.load(file)',
        'shelve.open(path)',
        'eval(text)',
        'exec(text)',
        'torch.load(path)',
        'torch.load(path, weights_only=False)',
        'from torch import load',
        'yaml.load(text)',
        "YAML(typ='unsafe')",
        'YAML()',
        'np.load(path, allow_pickle=True)',
        'subprocess.run(text, shell=True)',
        'os.system(text)',
    ],
)
def test_dangers_are_found(source: str) -> None:
    assert dangers(source)


@pytest.mark.parametrize('package', ['siamffn_ros', 'siamffn_model'])
def test_nothing_that_is_read_is_executed(package: str) -> None:
    files = sorted((ROOT / package).rglob('*.py'))
    assert files
    found = {str(path.relative_to(ROOT)): dangers(path.read_text()) for path in files}
    assert not {path: names for path, names in found.items() if names}


def test_harmless_code_is_no_danger() -> None:
    assert not dangers(
        'import pickle\n'
        'model.eval()\n'
        'torch.load(path, weights_only=True)\n'
        "YAML(typ='safe', pure=True)\n"
        're.compile(text)\n'
        'pickle.UnpicklingError\n'
    )
