"""Who may connect to the console's server, on real sockets."""

from __future__ import annotations

import pytest

aiohttp = pytest.importorskip('aiohttp', reason='extra [console] not installed')

from .connected_page import open_console, run  # noqa: E402


@pytest.mark.parametrize(
    ('headers', 'status'),
    [
        ({'Host': 'evil.example'}, 403),
        ({'Host': 'evil.example:8080'}, 403),
        ({'Origin': 'http://evil.example'}, 403),
        ({'Origin': 'null'}, 403),
        ({'Host': '[::1'}, 403),
        ({'Origin': 'http://['}, 403),
        ({'Origin': 'http://a\u2100b'}, 403),
        ({}, 200),
    ],
)
def test_other_hosts_and_origins_are_refused(headers: dict[str, str], status: int) -> None:
    async def scenario() -> None:
        async with open_console() as console:
            async with console.session.get(
                f'{console.origin}/static/style.css', headers=headers
            ) as page:
                assert page.status == status
            if status == 403:
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await console.page(headers={'Origin': console.origin, **headers})

    run(scenario)


def test_a_websocket_needs_an_origin() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            with pytest.raises(aiohttp.WSServerHandshakeError, match='403'):
                await console.page(headers={})

    run(scenario)


def test_a_token_is_required_and_becomes_a_cookie() -> None:
    async def scenario() -> None:
        async with open_console('secret') as console:
            for query in ('', '?token=', '?token=secre', '?token=%ff', '?token=secret2'):
                for path in ('/', '/ws', '/static/style.css'):
                    async with console.session.get(console.origin + path + query) as page:
                        assert page.status == 401, path + query
            with pytest.raises(aiohttp.WSServerHandshakeError, match='401'):
                await console.page()
            url = f'{console.origin}/?token=secret'
            async with console.session.get(url, allow_redirects=False) as page:
                assert (page.status, page.headers['Location']) == (303, '/')
                cookie = page.headers['Set-Cookie']
                assert 'HttpOnly' in cookie and 'SameSite=Strict' in cookie
            name = f'siamffn_token_{console.server.port}'  # another console has another cookie
            assert cookie.startswith(f'{name}=secret;')
            headers = {'Cookie': f'{name}=secret', 'Origin': console.origin}
            await console.page(headers=headers)

    run(scenario)


def test_no_page_may_run_other_scripts() -> None:
    async def scenario() -> None:
        async with open_console() as console:
            page = await console.session.get(f'{console.origin}/static/style.css')
            policy = page.headers['Content-Security-Policy']
            assert "default-src 'none'" in policy and 'unsafe' not in policy
            assert page.headers['X-Content-Type-Options'] == 'nosniff'
            page.close()

    run(scenario)
