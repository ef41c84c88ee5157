"""The shop's own pages."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render


def home(request):
    """Welcome everyone."""
    return HttpResponse("The shop")


@login_required
def order(request, number):
    """Show an order, with a conversation about it."""
    session_id = f"order-{number}-{request.user.pk}"
    return render(request, "shop/order.html", {"number": number, "session_id": session_id})
