"""The shop's own admin site."""

from django.contrib.admin import AdminSite


class ShopAdminSite(AdminSite):
    """Django's own under another name."""

    site_header = "The shop"
