"""The shop's own admin."""

from django.contrib.admin.apps import AdminConfig


class ShopAdminConfig(AdminConfig):
    """Django's admin app with the shop's site."""

    default_site = "shop.site.ShopAdminSite"
