"""HTTP paths: the relay's and, where it is switched on, Django's admin."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from relay.conf import conf
from relay.policies import COOKIE_POLICY
from relay.web.login import login_urls

urlpatterns: list[URLPattern | URLResolver] = [path("", include("relay.urls"))]
if (conf.chat_page or settings.DEBUG) and conf.ws_auth == COOKIE_POLICY:
    urlpatterns += login_urls()
if conf.admin or settings.DEBUG:
    urlpatterns.append(path("admin/", admin.site.urls))

handler400 = "relay.web.views.bad_request"
handler403 = "relay.web.views.permission_denied"
handler404 = "relay.web.views.not_found"
handler500 = "relay.web.views.server_error"
