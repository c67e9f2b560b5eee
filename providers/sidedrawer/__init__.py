"""SideDrawer: events of drawers, folders, files, inboxes, collaboration networks, plans and licenses."""

from providers.sidedrawer.provider import SideDrawer

provider = SideDrawer()
